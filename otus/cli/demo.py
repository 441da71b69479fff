"""stub to be replaced"""
def demo() -> None:
    """x"""
