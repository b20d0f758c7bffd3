"""What neural families share: the preparation of columns, the feeder, and one trainer."""
