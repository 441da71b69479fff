"""What ``fuse`` is made of: scalar values, their costs, and groups that become one loop."""
