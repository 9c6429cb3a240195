# tar in the directory that is given: modes, owners, links, sparse files, attributes and access lists, out and in.
. /work/steps.sh
cd "$1" || exit
fill() {
	mkdir -p from/d/e from/sticky && chmod 1777 from/sticky && echo one >from/one && ln from/one from/d/hard
	ln -s ../one from/d/soft && mkfifo from/fifo && echo script >from/run && chmod 6755 from/run
	truncate -s 1M from/sparse && echo end >>from/sparse && setfattr -n user.mark -v yes from/one
	setfacl -m u:1001:r from/d/e && chmod 000 from/d/e && touch -d 2001-02-03 from/one && seq 5000 >from/numbers
	chown 1001:1001 from/one from/d
}
step fill fill
step create tar -C from --xattrs --acls --sparse --sort=name -cf all.tar .
step list tar -tf all.tar
step extract sh -c 'mkdir to && tar -C to --xattrs --acls -xpf all.tar'
step 'what came out' tree to
step 'the same' diff -r --no-dereference -x fifo from to
step attributes getfattr -d to/one
step 'time' stat -c %Y to/one
step 'access list' getfacl -cn to/d/e
step 'sparse still' sh -c 'test $(stat -c %b to/sparse) -lt 100'
step compressed sh -c 'tar -C from -czf all.tgz . && mkdir again && tar -C again -xzf all.tgz'
step update sh -c 'touch -d 2030-01-01 from/numbers && tar -C from -uf all.tar numbers'
step 'cp -a' sh -c 'cp -a to copy && mv copy moved && rm -rf moved'
step 'install' install -o 1001 -g 1001 -m 0400 from/one installed
step 'copied through a pipe' sh -c 'mkdir piped && tar -C from -cf - . | tar -C piped --warning=no-timestamp -xpf - && du -s --apparent-size piped'
step 'find and delete' find . -name 'numbers' -delete
step remove rm -rf to from again piped
