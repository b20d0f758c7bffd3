"""GPUs of one machine: which there are, who holds them, and how a job takes one."""
