# One of the containers that share the volume at $1, and that read what is given to all of them at /reference.
. /work/steps.sh
cd "$1" || exit
append() {
	for n in $(seq 50); do
		flock lock sh -c "echo $2 >>all" || return
	done
}
readers() {
	for n in 1 2 3 4 5 6 7 8; do
		( for m in 1 2 3 4 5; do cat /reference/f >/dev/null && ls /reference >/dev/null || exit 1; done ) &
	done
	for job in $(jobs -p); do wait $job || return; done
}
step 'append under a lock' append . "$2"
step 'own lines' grep -c "^$2\$" all
step 'many readers' readers
step 'mapped read-only' python3 -c 'import mmap; f = open("/reference/f", "rb"); print(mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)[:99])'
step 'started from a read-only volume' /reference/program
