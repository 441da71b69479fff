"""What ``slice`` is made of: peaks, regions, loops over blocks."""
