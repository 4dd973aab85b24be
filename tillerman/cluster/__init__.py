"""A cluster at one instant: typed objects, one immutable `Snapshot`, and the two adapters that read it."""
