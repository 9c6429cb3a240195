# Run in the machine: real containers under the agent. Each step leaves "NAME<tab>STATUS<tab>OUTPUT" in $RESULTS/steps.
# The kernel has no nftables until the last steps: what needs none does not change by that (tests/vm/test_no_nftables.py).
echo 'install nf_tables /bin/false' >/etc/modprobe.d/no-nftables.conf
DOCKERD_OPTIONS=--iptables=false
source tests/vm/guest/docker.sh
enforcer=.venv/bin/enforcer
places="--journal /tmp/journal --state /tmp/state --run /tmp/run"
cat >/tmp/policy.yaml <<'YAML'
version: 1
mode: enforce
containers:
  alpha: {name: alpha-*}
data:
  protected: [{volume: "alpha-*"}, {layer: "alpha-*"}]
  rules:
    - {who: alpha, read-write: [alpha-data], read-only: [alpha-config]}
network:
  internal: [inner]
  rules:
    - {who: alpha, connect: [{cidr: 203.0.113.0/24, ports: [443/tcp]}]}
YAML

step() {
	local name=$1 output status=0
	shift
	output=$("$@" 2>&1) || status=$?
	printf '%s\t%s\t%s\n' "$name" "$status" "$(tr '\n\t' '  ' <<<"$output")" >>"$RESULTS/steps"
}
up() {
	local name=$1
	shift
	docker run -d --network none --name "$name" "$@" busybox:local sleep 1000 >/dev/null
}
start() {
	rm -f /tmp/agent.out
	$enforcer run --policy /tmp/policy.yaml --mechanism "$1" $places >/tmp/agent.out 2>>"$RESULTS/agent.log" &
	agent=$!
	for _ in $(seq 600); do [ -s /tmp/agent.out ] && return; kill -0 $agent || break; sleep 0.1; done
	tail -n 20 "$RESULTS/agent.log"
	exit 1
}

docker volume create alpha-data >/dev/null
docker volume create alpha-config >/dev/null
docker network create --internal inner >/dev/null
step 'nftables is not there' modprobe nf_tables
step 'required, refused' $enforcer run --policy /tmp/policy.yaml --require deny $places
step 'refused, nothing left' ls /sys/fs/bpf/enforcer
start "$ENFORCER_MECHANISM"
up alpha-1 -v alpha-data:/data -v alpha-config:/config -v alpha-config:/config-ro:ro
up long -v /var/lib/docker/volumes:/host -v other:/other
step 'own data' docker exec alpha-1 sh -c 'echo mine >/data/f && cat /data/f && mkdir /data/d && ls /data'
step 'own layer' docker exec alpha-1 sh -c 'echo x >/new && cat /new && echo y >>/bin/appended && cat /bin/appended'
step 'config written' docker exec alpha-1 sh -c 'echo x >/config/f'
step 'config written on a read-only mount' docker exec alpha-1 sh -c 'echo x >/config-ro/g'
step 'connect' docker exec alpha-1 sh -c 'echo | nc -w 1 198.51.100.1 443'
step 'connect where granted' docker exec alpha-1 sh -c 'echo | nc -w 1 203.0.113.10 443'
step 'stranger reads at its first instruction' docker run --rm --network none -v alpha-data:/stolen busybox:local cat /stolen/f
step 'stranger reads by a hard path' docker exec long cat /host/alpha-data/_data/f
step 'stranger lists' docker exec long ls /host/alpha-data/_data
step 'stranger in its own' docker exec long sh -c 'echo free >/other/f && cat /other/f'
$enforcer status --run /tmp/run --format json >"$RESULTS/status.json"
$enforcer status --run /tmp/run >"$RESULTS/status.txt"
step 'doctor' env DOCKER_HOST=unix:///nowhere $enforcer doctor # which then tries no program: that takes a minute
docker run -d --network inner --name inmate busybox:local sleep 1000 >/dev/null
step 'confined' docker exec inmate sh -c 'echo | nc -w 1 198.51.100.1 443'
kill -9 $agent
wait $agent || true
step 'stranger reads while no agent lives' docker exec long cat /host/alpha-data/_data/f
start "$ENFORCER_MECHANISM"
step 'own data after the restart' docker exec alpha-1 cat /data/f
$enforcer status --run /tmp/run --format json >"$RESULTS/restarted.json"
rm /etc/modprobe.d/no-nftables.conf
holds() { nft list table inet enforcer >/tmp/table 2>/dev/null && grep -q drop /tmp/table; }
for _ in $(seq 300); do holds && break; sleep 0.2; done
step 'nftables is there' cat /tmp/table
$enforcer status --run /tmp/run --format json >"$RESULTS/mended.json"
kill $agent
stopped=0
wait $agent || stopped=$?
step 'the agent stops' test $stopped = 0
cp /tmp/journal/*.jsonl "$RESULTS/journal.jsonl"
step 'unload' $enforcer unload
step 'stranger reads when nothing is enforced' docker exec long cat /host/alpha-data/_data/f
step 'nothing left' ls /sys/fs/bpf/enforcer
exit 0
