# A compiler in the directory that is given: sources, objects, a library, programs, started where they were made.
. /work/steps.sh
cd "$1" || exit
sources() {
	printf '#include <stdio.h>\nint twice(int);\nint main(void) { return printf("%%d\\n", twice(21)) < 0; }\n' >main.c
	printf 'int twice(int n) { return 2 * n; }\n' >twice.c
}
step sources sources
step objects gcc -O1 -g -c main.c twice.c
step archive sh -c 'ar rcs libtwice.a twice.o && ranlib libtwice.a'
step program gcc -o program main.o -L. -ltwice
step run ./program
step 'shared library' gcc -shared -fPIC -o libtwice.so twice.c
step 'linked to it' gcc -o dynamic main.o -L. -ltwice -Wl,-rpath,'$ORIGIN'
step 'run that' ./dynamic
step strip strip program
step 'run what is stripped' ./program
step 'install to the layer' install -D -m 0755 program /opt/bin/lawful
step 'run from the layer' /opt/bin/lawful
step 'replace a running program' sh -c 'cp /usr/bin/sleep slow && ./slow 100 >/dev/null & sleep=$!; until [ "$(readlink /proc/$sleep/exe)" = "$PWD/slow" ]; do :; done; gcc -o new main.o twice.o && mv new slow; kill $sleep; ./slow'
step clean sh -c 'rm -f *.o program dynamic *.a *.so slow /opt/bin/lawful'
