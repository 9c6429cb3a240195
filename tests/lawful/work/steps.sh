# Sourced by each workload: "step NAME COMMAND..." runs a command and prints NAME, exit status and output, tab-separated.
step() {
	name=$1
	shift
	status=0
	output=$("$@" 2>&1) || status=$?
	printf '%s\t%s\t%s\n' "$name" "$status" "$(printf '%s' "$output" | tr '\n\t' '  ')"
}
# What a tree is: types, modes, owners, links, sizes and contents, whatever the order.
tree() (
	cd "$1" || exit
	find . -printf '%P %y %m %U:%G %n %l\n' | sort
	find . -type f -print0 | sort -z | xargs -0 -r sha256sum
)
