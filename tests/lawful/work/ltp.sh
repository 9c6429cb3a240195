# Cases of the Linux Test Project at /ltp, in the directory that is given: one step a line of /ltp/cases ("name command").
# The output is what the case sums up, since its text has addresses and times.
cd "$1" || exit
export TMPDIR=$PWD PATH=/ltp:$PATH LTP_TIMEOUT_MUL=10
while read -r name command; do
	said=$(timeout 300 $command 2>&1 </dev/null)
	status=$?
	printf '%s\t%s\t%s\n' "$name" "$status" "$(printf '%s\n' "$said" | grep -E '^(passed|failed|broken|skipped|warnings) ' | tr -s ' \n' ' ')"
done </ltp/cases
