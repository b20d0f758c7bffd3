#!/bin/sh
# How a job of Slurm stands: prints running, success or failed.
# usage: status.sh <number>
state=$(squeue --noheader --states=all --format=%T --jobs="$1" 2>&1)
case $state in
    COMPLETED) echo success ;;
    # The last: it ended so long ago that the controller has forgotten it. It is tried again, and finds its fits.
    BOOT_FAIL | CANCELLED | DEADLINE | FAILED | NODE_FAIL | OUT_OF_MEMORY | PREEMPTED | REVOKED | TIMEOUT | \
        "" | *"Invalid job id"*) echo failed ;;
    # Waiting, running, ending; or the controller is away and cannot say.
    *) echo running ;;
esac
