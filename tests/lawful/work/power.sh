# What a container with more rights does to itself: debugging, namespaces, mounts, cgroups. $1 is its own volume.
. /work/steps.sh
cd "$1" || exit
mkdir -p d lower upper work merged && echo lower >lower/f
step strace sh -c 'strace -f -o /tmp/trace sh -c "cat /srv/shipped | wc -c" && test -s /tmp/trace'
step 'strace of a running process' sh -c 'sleep 100 >/dev/null & timeout 1 strace -qq -p $! -o /tmp/trace2; kill $!; test -e /tmp/trace2'
step 'another process of its own is read' python3 /work/inspect.py
step 'mount namespace' unshare -m sh -c 'mount -t tmpfs none /mnt && echo x >/mnt/f && cat /mnt/f'
step 'bind mount of a directory of its own' unshare -m sh -c 'mount --bind d /mnt && echo y >/mnt/f && cat d/f'
step 'bind mount that is moved' unshare -m --propagation private sh -c 'mkdir m && mount --bind d m && mount --move m /mnt && cat /mnt/f'
step 'read-only bind mount' unshare -m sh -c 'mount --bind d /mnt && mount -o remount,bind,ro /mnt && echo z >/mnt/g'
step 'overlay of its own' unshare -m sh -c 'mount -t overlay o -o lowerdir=lower,upperdir=upper,workdir=work merged && cat merged/f && echo up >merged/f && rm merged/f && ls upper && mkdir merged/n && mv merged/n merged/p'
step 'chroot' chroot / /bin/cat /srv/shipped
step 'pivot_root' unshare -m sh -c 'mount --rbind / /mnt && cd /mnt && pivot_root . mnt && cat /srv/shipped'
step 'pid namespace' unshare -mpf --mount-proc sh -c 'echo $$'
step 'user namespace' unshare -Ur sh -c 'id -u && echo own >d/mapped && cat d/mapped'
step 'user and mount namespaces' unshare -Urm sh -c 'mount -t tmpfs none /mnt && echo x >/mnt/f && cat /mnt/f'
step 'network namespace' unshare -n sh -c 'ls /sys/class/net >/dev/null; cat /proc/net/dev | wc -l'
step 'enter a namespace of a child' sh -c 'unshare -m sleep 100 >/dev/null & until [ "$(readlink /proc/$!/exe)" = /usr/bin/sleep ]; do :; done; nsenter -m -t $! cat /srv/shipped; s=$?; kill $!; exit $s'
