# Run in the machine: lawful work in real containers, without the agent and under it. Steps and statuses go to $RESULTS.
# /dev/vdd holds the programs: mounted for all containers, since importing half a gigabyte takes the machine minutes.
source tests/vm/guest/docker.sh
enforcer=.venv/bin/enforcer
host=/tmp/host
mount -t ext4 -o ro /dev/vdd /mnt
tar -C /mnt --exclude=./usr -c . | docker import - lawful:local >/dev/null
export INIT= OPTIONS="-v /mnt/usr:/usr:ro" CGROUPS=/sys/fs/cgroup/docker 
mkdir -p $host/0

round() {
	echo "$1 after $SECONDS s"
	bash tests/lawful/round.sh lawful:local $host/0 $WORKLOADS >"$RESULTS/$1" 2>"$RESULTS/$1.errors"
}
round alone
sed "s|HOST|$host|" tests/lawful/policy.yaml >/tmp/policy.yaml
$enforcer run --policy /tmp/policy.yaml --mechanism "$ENFORCER_MECHANISM" --journal /tmp/journal --state /tmp/state --run /tmp/run \
	>/tmp/agent.out 2>"$RESULTS/agent.log" &
agent=$!
for _ in $(seq 3000); do [ -s /tmp/agent.out ] && break; kill -0 $agent || break; sleep 0.1; done
$enforcer status --run /tmp/run --format json >"$RESULTS/before.json" || { tail -n 20 "$RESULTS/agent.log"; exit 1; }
round governed
$enforcer status --run /tmp/run --format json >"$RESULTS/after.json"
cp /tmp/journal/*.jsonl "$RESULTS/journal.jsonl"
docker volume create secret >/dev/null
docker run --rm --network none --name work-thief -v secret:/secret busybox:local ls /secret >"$RESULTS/thief" 2>&1
echo $? >>"$RESULTS/thief"
$enforcer status --run /tmp/run --format json >"$RESULTS/thief.json"
kill $agent
wait $agent
exit 0
