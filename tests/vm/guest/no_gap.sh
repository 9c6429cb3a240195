# Run in the machine: an attack loop goes on while the agent is killed, adopts, reloads, is upgraded, stopped, started, stopped
# and unloaded. Leaves the loop's log, the names of its phases, what was pinned in each, and what is left at the end.
source tests/vm/guest/docker.sh
enforcer=$PWD/.venv/bin/enforcer
ids() { /usr/bin/python3 tests/vm/guest/bpf_ids.py; }
write_policy() {
	cat >/tmp/policy.new <<-YAML
		version: 1
		mode: enforce
		containers: {hammer: {name: hammer}, more-$1: {name: more}}
		data: {protected: [{volume: "alpha-*"}]}
		network: {rules: [{who: hammer, connect: []}]}
	YAML
	mv /tmp/policy.new /tmp/policy.yaml
}
until_true() {
	for _ in $(seq 2400); do "$@" && return; sleep 0.1; done
	echo "in vain: $*"
	tail -n 20 "$RESULTS/agent.log"
	exit 1
}
phase() {
	echo "$(cut -d' ' -f1 /proc/uptime) $1"
	kill -RTMIN "$loop"
	printf '%s\t%s\t%s\n' "$1" "$(cut -d' ' -f1 /proc/uptime)" "$(ls /sys/fs/bpf/enforcer | tr '\n' ' ')" >>"$RESULTS/phases"
}
start() { # the directory whose code is run
	rm -f /tmp/agent.out
	PYTHONPATH=$1 $enforcer run --policy /tmp/policy.yaml --mechanism "$ENFORCER_MECHANISM" \
		--journal /tmp/journal --state /tmp/state --run /tmp/run >/tmp/agent.out 2>>"$RESULTS/agent.log" &
	agent=$!
	until_true in_force
}
in_force() { [ -s /tmp/agent.out ] || ! kill -0 $agent; }
end() { kill "-$1" $agent; wait $agent; }
loaded() { [ "$(grep -c 'policy in force' "$RESULTS/agent.log")" -ge "$1" ]; }

mkdir /tmp/other
cp -r enforcer probes /tmp/other/
echo '/* another build */' >>/tmp/other/probes/main.c
gcc -std=gnu11 -D_GNU_SOURCE -O2 -static -o /tmp/hammer tests/hammer.c
docker volume create alpha-data >/dev/null
for name in f g h i; do echo secret >/var/lib/docker/volumes/alpha-data/_data/$name; done
ids >/tmp/before
write_policy 0
start "$PWD"
$enforcer status --run /tmp/run --format json >"$RESULTS/status.json"
docker run -d --name hammer -v /tmp/hammer:/hammer:ro -v alpha-data:/stolen busybox:local /hammer $DEEDS >/dev/null
ready() { docker logs hammer | grep -q ready; }
until_true ready
loop=$(docker inspect -f '{{.State.Pid}}' hammer)
printf 'enforced\t%s\t%s\n' "$(cut -d' ' -f1 /proc/uptime)" "$(ls /sys/fs/bpf/enforcer)" >"$RESULTS/phases"
phase 'killed and started'
end KILL
start "$PWD"
phase reloaded
for n in 1 2; do
	before=$(grep -c 'policy in force' "$RESULTS/agent.log")
	write_policy $n
	until_true loaded $((before + 1))
done
phase upgraded
end KILL
start /tmp/other
phase 'stopped and started'
end TERM
start /tmp/other
phase stopped
end TERM || echo "the agent ended with $?"
phase unloading
$enforcer unload
gone() { ids >/tmp/after; ! grep -vxFf /tmp/before /tmp/after >/dev/null; }
until_true gone
phase unloaded
cp /tmp/after /tmp/before "$RESULTS/"
docker run --rm --network none busybox:local ls / >/dev/null
docker stop hammer >/dev/null
docker logs hammer >"$RESULTS/log.json"
{
	find /sys/fs/cgroup -name '*enforcer*'
	find /sys/fs/bpf /tmp/run -mindepth 1
	nft list ruleset 2>/dev/null | grep -i enforcer
} >"$RESULTS/left"
exit 0
