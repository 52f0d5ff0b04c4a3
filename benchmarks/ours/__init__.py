"""Our side of the comparison: the stack as users start it, driven through its public doors."""
