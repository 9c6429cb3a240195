# A container that makes cgroups below its own (mounted at /cgroup) and works in them. $1 is its own volume.
. /work/steps.sh
cd "$1" || exit
step make mkdir -p /cgroup/a/b
step 'move in and work' sh -c 'echo 0 >/cgroup/a/b/cgroup.procs && echo nested >nested && cat nested && cat /srv/shipped'
step 'a child is moved' sh -c 'sleep 100 >/dev/null 2>&1 & echo $! >/cgroup/a/cgroup.procs; s=$?; kill $!; exit $s'
step 'move up again' sh -c 'echo 0 >/cgroup/a/b/cgroup.procs && echo 0 >/cgroup/a/cgroup.procs && cat nested'
step remove rmdir /cgroup/a/b /cgroup/a
