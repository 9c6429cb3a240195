# A container as the guide wants it: a read-only root, no capability, no new privilege, a user of its own. $1 is its volume.
. /work/steps.sh
cd "$1" || exit
step 'who' id -u
step 'own volume' sh -c 'mkdir d && echo x >d/f && mv d/f d/g && chmod 600 d/g && ln d/g d/h && cat d/h && rm -r d'
step 'temporary files' sh -c 'f=$(mktemp) && echo t >$f && cat $f && rm $f'
step 'sorting with temporary files' sh -c 'seq 20000 | sort -S 100k -rn | head -1'
step 'read-only root' sh -c 'echo x >/srv/new'
step 'read-only root, changed' sh -c 'echo x >>/srv/shipped'
step 'read-only root, removed' rm -f /srv/shipped
step 'files of root' sh -c 'cat /etc/shadow; echo x >/etc/passwd'
step 'what belongs to another user' sh -c 'cat roots; echo x >roots'
step 'programs of the image' sh -c 'python3 -c "print(6 * 7)" && git --version && sqlite3 :memory: "select 42"'
step 'chown' chown 0 .
step 'mknod' mknod null c 1 3
step 'kernel settings' sh -c 'echo x >/proc/sys/kernel/hostname'
step 'readable configuration' cat /reference/f
