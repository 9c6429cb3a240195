# logrotate in the directory that is given: by renaming and by copying and truncating, while a program writes.
. /work/steps.sh
cd "$1" || exit
mkdir log
chmod 755 . log
for way in create copytruncate; do
	cat >$way.conf <<CONF
$PWD/log/$way.log {
	rotate 3
	size 1
	$way
	compress
	delaycompress
	su root root
}
CONF
	step "write for $way" sh -c "seq 1000 >log/$way.log"
	for n in 1 2 3 4 5; do
		step "rotate by $way" logrotate -f -s "$PWD/state" $way.conf
		step 'write on' sh -c "seq 100 >>log/$way.log"
	done
done
exec 9>>log/held.log
echo before >&9
step 'rename under the writer' mv log/held.log log/held.log.1
echo after >&9
step 'copy and truncate under the writer' sh -c 'cp log/held.log.1 log/held.log.2 && : >log/held.log.1 && cat log/held.log.2'
echo truncated >&9
step 'the writer goes on' cat log/held.log.1
step 'what is there' sh -c 'ls log'
