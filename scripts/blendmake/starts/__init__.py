"""Scripts started as copies of a process that has the libraries loaded, where the system can do that."""
