#!/bin/sh
# Install the services that the tests in tests/services start: Slurm, and PostgreSQL if there is none.
# usage: envs/services.sh
# Where it cannot, it says why and leaves it at that: those tests are skipped.
set -u

without() {
    echo "Tests of services will be skipped where these are missing:$wanted. $1" >&2
    exit 0
}

# Some of these stand outside the PATH of an ordinary user.
PATH=$PATH:/usr/sbin:/sbin
wanted=
for program in munged slurmctld slurmd sbatch scancel scontrol sinfo squeue srun; do
    command -v $program >/dev/null || wanted=" munge slurm-wlm"
done
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null || wanted="$wanted postgresql"
[ -n "$wanted" ] || exit 0
[ "$(id -u)" = 0 ] || without "Installing them needs root."
command -v apt-get >/dev/null || without "Installing them needs apt-get (Debian, Ubuntu)."

# The packages would start services of their own; what is asked before that, by Debian's policy, is this file.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    trap 'rm -f $policy' EXIT
    trap 'exit 1' HUP INT TERM
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod 755 $policy
fi
echo "Installing$wanted." >&2
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq >/dev/null || without "apt-get update failed (see above)."
# shellcheck disable=SC2086
apt-get install -y -qq --no-install-recommends $wanted >/dev/null || without "apt-get install failed (see above)."
