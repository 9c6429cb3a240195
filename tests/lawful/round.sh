#!/bin/bash
# One round of lawful work: round.sh IMAGE HOST WORKLOAD... prints "WORKLOAD<tab>STEP<tab>STATUS<tab>OUTPUT", a line a step.
#
# IMAGE is an image with the programs of image.py; HOST a directory of the host that the policy may protect. DOCKER_HOST
# says which engine. INIT is --init unless it is set. OPTIONS are for every container: mounts, where the image is bare.
# Every container and volume is made here and removed at the end, so that a second round meets the world of the first.
set -u
here=$(cd "$(dirname "$0")" && pwd)
image=$1 host=$2
shift 2
source "$here/work/steps.sh"
containers=() volumes=() networks=() images=()
said=$(mktemp)

volume() {
	local name=$1
	shift
	docker volume create "$@" "$name" >/dev/null && volumes+=("$name")
}
# up NAME OPTIONS... [-- COMMAND...]: a container that runs; it sleeps unless told otherwise
up() {
	local name=$1 options=()
	shift
	while [ $# -gt 0 ] && [ "$1" != -- ]; do options+=("$1") && shift; done
	[ $# -gt 0 ] && shift
	[ $# -gt 0 ] || set -- sleep infinity
	containers+=("$name")
	docker run -d --network "${network:-none}" ${INIT---init} --name "$name" -v "$here/work:/work:ro" ${OPTIONS-} "${options[@]}" "$image" "$@" >/dev/null
}
# A volume that is filled on the host, and that the policy grants for reading only.
reference() {
	local at
	volume reference
	at=$(docker volume inspect -f '{{.Mountpoint}}' reference)
	echo shared >"$at/f"
	printf '#!/bin/sh\necho started\n' >"$at/program"
	chmod 755 "$at/program"
}
# inside NAME PROGRAM ARGUMENTS...: a workload in a container
inside() {
	local name=$1
	shift
	docker exec "$name" "$@" </dev/null
}
cleanup() {
	docker rm -fv "${containers[@]}" >/dev/null 2>&1
	docker volume rm "${volumes[@]}" >/dev/null 2>&1
	docker network rm "${networks[@]}" >/dev/null 2>&1
	docker image rm "${images[@]}" >/dev/null 2>&1
	rm -rf "${host:?}"/*
	containers=() volumes=() networks=() images=()
}
trap 'cleanup; rm -f "$said"' EXIT

# The file system, in a volume, in the own layer, in a volume that is a directory of the host, and in such a directory.
files() {
	mkdir -p "$host/bound" "$host/plain"
	volume work-files-data
	up work-files -v work-files-data:/data
	inside work-files python3 /work/files.py /data
	inside work-files python3 /work/files.py /layer | sed 's/^/in the layer: /'
}
bound() {
	mkdir -p "$host/bound" "$host/plain"
	volume work-bound-data -o type=none -o o=bind -o device="$host/bound"
	up work-bound -v work-bound-data:/data -v "$host/plain:/plain"
	inside work-bound python3 /work/files.py /data
	inside work-bound python3 /work/files.py /plain | sed 's/^/in a host directory: /'
}
# Programs: each in a directory of the own volume.
programs() {
	volume work-programs-data
	up work-programs -v work-programs-data:/data
	for name in ${PROGRAMS:-git tar pip build rotate sqlite}; do
		inside work-programs mkdir "/data/$name"
		case $name in
		sqlite) inside work-programs python3 /work/sqlite.py /data/sqlite wal truncate ;;
		*) inside work-programs sh "/work/$name.sh" "/data/$name" ;;
		esac | sed "s/^/$name: /"
	done
}
# A share of everything in one container, for a machine on which each container costs seconds.
mixed() {
	volume work-mixed-data
	up work-mixed --cap-add SYS_ADMIN --cap-add SYS_PTRACE --security-opt seccomp=unconfined --security-opt apparmor=unconfined \
		--cgroupns host -v work-mixed-data:/data -v "$CGROUPS:/all"
	inside work-mixed python3 /work/files.py /data
	inside work-mixed python3 /work/files.py /layer | sed 's/^/in the layer: /'
	inside work-mixed sh -c "ln -s /all/$(docker inspect -f '{{.Id}}' work-mixed) /cgroup; mkdir /data/power /data/git /data/tar /data/sqlite"
	inside work-mixed sh /work/cgroups.sh /data/power
	inside work-mixed sh /work/power.sh /data/power
	inside work-mixed sh /work/git.sh /data/git | sed 's/^/git: /'
	inside work-mixed sh /work/tar.sh /data/tar | sed 's/^/tar: /'
	inside work-mixed env ROWS=10 python3 /work/sqlite.py /data/sqlite wal | sed 's/^/sqlite: /'
}
layer() {
	up work-layer
	for name in ${PROGRAMS:-git tar build sqlite}; do
		inside work-layer mkdir "/$name"
		case $name in
		sqlite) inside work-layer python3 /work/sqlite.py /sqlite wal delete ;;
		*) inside work-layer sh "/work/$name.sh" "/$name" ;;
		esac | sed "s/^/$name: /"
	done
}
# The guide's own way to run a container.
confined() {
	reference
	volume work-confined-data
	docker run --rm --network none -v reference:/reference -v work-confined-data:/data ${OPTIONS-} --name work-confined "$image" \
		sh -c 'chown 1001:1001 /data && install -m 600 /srv/shipped /data/roots'
	up work-confined --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges --user 1001:1001 \
		-v work-confined-data:/data -v reference:/reference:ro
	inside work-confined sh /work/confined.sh /data
	inside work-confined python3 /work/files.py /data/files mail_directory small_writes_with_fsync unix_stream_socket shared_mapping
}
power() {
	volume work-power-data
	up work-power --cap-add SYS_ADMIN --cap-add SYS_PTRACE --security-opt seccomp=unconfined --security-opt apparmor=unconfined \
		-v work-power-data:/data
	inside work-power sh /work/power.sh /data
}
cgroups() {
	volume work-cgroups-data
	up work-cgroups --cgroupns host -v work-cgroups-data:/data -v "$CGROUPS:/all"
	inside work-cgroups sh -c "ln -s /all/$(docker inspect -f '{{.Id}}' work-cgroups) /cgroup"
	inside work-cgroups sh /work/cgroups.sh /data
}
# Two containers on one volume, both granted, and many readers of one that is granted to read.
sharing() {
	volume shared
	reference
	for name in share-one share-two; do
		up $name -v shared:/shared -v reference:/reference
	done
	up share-three --volumes-from share-one:ro
	inside share-one sh /work/share.sh /shared one >"$host/one" &
	local one=$!
	inside share-two sh /work/share.sh /shared two | sed 's/^/two: /'
	wait $one
	sed 's/^/one: /' "$host/one"
	inside share-three sh -c 'wc -l </shared/all; cat /reference/f' | sed 's/^/three\t0\t/'
}
# What the engine does with a container.
engine() {
	volume work-engine-data
	up work-engine -v work-engine-data:/data --health-cmd 'test -s /data/f || echo x >/data/f' --health-interval 1s --log-opt max-size=10k --log-opt max-file=2 \
		-- sh -c 'trap "exit 0" TERM; echo up >>/data/starts; while :; do seq 100; sleep 0.2; done'
	step 'exec' docker exec work-engine cat /srv/shipped
	step 'exec with a terminal' docker exec -t work-engine sh -c 'test -t 1 && stty -a | wc -l && echo t >/data/t'
	step 'exec as a user' docker exec -u 1001 work-engine sh -c 'exec 2>&1; id -u; cat /data/t; echo x >/data/t'
	step 'exec in a directory with input' sh -c 'echo given | docker exec -i -w /data work-engine tee given'
	step 'exec in the background' docker exec -d work-engine sh -c 'echo d >/data/d.new && mv /data/d.new /data/d'
	step 'its result' docker exec work-engine sh -c 'until [ -e /data/d ]; do :; done; cat /data/d'
	step 'copy in' docker cp "$here/work" work-engine:/data/work
	step 'copied in' docker exec work-engine sh -c 'ls /data/work && echo "# more" >>/data/work/steps.sh'
	step 'copy into the layer' docker cp "$here/work/steps.sh" work-engine:/srv/steps.sh
	step 'change it' docker exec work-engine sh -c 'sed -i s/step/STEP/ /srv/steps.sh && head -c 20 /srv/steps.sh'
	step 'copy out' docker cp work-engine:/data/work/steps.sh "$host/steps.sh"
	step 'copied out' tail -n 1 "$host/steps.sh"
	step 'healthy' sh -c 'n=0; until [ "$(docker inspect -f "{{.State.Health.Status}}" work-engine)" = healthy ]; do n=$((n+1)); [ $n -lt 300 ] || exit 1; sleep 0.1; done'
	step 'written by its check' docker exec work-engine cat /data/f
	step 'pause' docker pause work-engine
	step 'go on' docker unpause work-engine
	step 'stop' docker stop -t 10 work-engine
	step 'copy into what is stopped' docker cp "$here/work/files.py" work-engine:/data/late
	step 'start' docker start work-engine
	step 'copied before the start' docker exec work-engine sh -c 'wc -l </data/late; rm /data/late'
	step 'restart' docker restart -t 10 work-engine
	step 'kill' docker kill work-engine
	step 'start after that' docker start work-engine
	step 'starts' docker exec work-engine cat /data/starts
	step 'memory limit' docker update --memory 200m --memory-swap 200m work-engine
	step 'top' sh -c 'docker top work-engine | grep -q trap'
	step 'changes' sh -c 'docker diff work-engine | grep /srv | sort'
	step 'logs' sh -c 'docker logs work-engine 2>&1 | head -n 1000 | grep -c ^100$ | grep -q .'
	step 'export' sh -c 'docker export work-engine | tar -t srv/steps.sh'
	images+=(lawful-committed)
	step 'commit' sh -c 'docker commit work-engine lawful-committed >/dev/null'
	step 'run what was committed' docker run --rm --pull never --network none ${OPTIONS-} --name work-committed lawful-committed sh -c 'head -c 20 /srv/steps.sh && echo x >>/srv/steps.sh'
	step 'rename' docker rename work-engine work-renamed
	containers+=(work-renamed)
	step 'write after the rename' docker exec work-renamed sh -c 'echo y >/srv/after && cat /srv/after'
	step 'rename back' docker rename work-renamed work-engine
	step 'write after that' docker exec work-engine sh -c 'echo y >>/data/f && cat /data/f && echo z >>/srv/after && cat /srv/after'
	step 'a process that ends by a signal' docker exec work-engine sh -c 'kill -9 $$'
}
# An image is built in containers that no rule names.
built() {
	mkdir -p "$host/context"
	printf 'FROM %s\nRUN echo made >/srv/made && rm /srv/shipped && mkdir /srv/d && chmod 700 /srv/d\nRUN mv /srv/made /srv/d && cat /srv/d/made\n' "$image" >"$host/context/Dockerfile"
	images+=(lawful-built)
	step build sh -c "DOCKER_BUILDKIT=0 docker build -q --network none -t lawful-built '$host/context' >/dev/null 2>&1"
	step run docker run --rm --pull never --network none --name work-built lawful-built sh -c 'cat /srv/d/made; rm -r /srv/d; ls /srv'
}
# Containers whose first instruction is their work, one after the other and many at once, each on a new volume of its own.
births() {
	local jobs=() n
	for n in $(seq "${BIRTHS:-6}"); do
		volumes+=("work-born-$n-data")
		step "one after the other $n" docker run --rm --network none ${OPTIONS-} -v "work-born-$n-data:/data" --name "work-born-$n" "$image" \
			sh -c 'echo x >/data/f && cat /data/f && echo y >>/srv/shipped && mv /srv/shipped /data && rm /data/shipped'
	done
	for n in $(seq "${BIRTHS:-6}"); do
		volumes+=("work-burst-$n-data")
		step "at once $n" docker run --rm --network none ${OPTIONS-} -v "work-burst-$n-data:/data" --name "work-burst-$n" "$image" \
			sh -c 'echo x >/data/f && cat /data/f && echo y >>/srv/shipped && mv /srv/shipped /data && rm /data/shipped' >"$host/burst-$n" &
		jobs+=($!)
	done
	wait "${jobs[@]}"
	cat "$host"/burst-*
}
# PostgreSQL as the guide's database: its clients connect by name, it is restarted, killed and recovers.
postgres() {
	local n bin=/usr/lib/postgresql/15/bin
	docker network create --internal lawful >/dev/null && networks+=(lawful)
	volume database-data
	docker run --rm --network none -v database-data:/data ${OPTIONS-} --name database "$image" chown postgres:postgres /data
	network=lawful up database --user postgres --read-only --tmpfs /tmp --tmpfs /var/run/postgresql:uid=999 --shm-size 128m -v database-data:/data \
		--health-cmd "$bin/pg_isready -q" --health-interval 1s -- sh -c "[ -s /data/PG_VERSION ] || { $bin/initdb -D /data -A trust >/dev/null && echo host all all all trust >>/data/pg_hba.conf; }
			exec $bin/postgres -D /data -c listen_addresses='*' -c jit=off -c shared_buffers=16MB"
	network=lawful up client
	step 'ready' ready
	inside client bash /work/postgres.sh database first
	step 'restart' docker restart -t 30 database
	step 'ready again' ready
	inside client bash /work/postgres.sh database again | sed 's/^/restarted: /'
	step 'kill' docker kill database
	step 'start' docker start database
	step 'recovered' ready
	inside client bash /work/postgres.sh database again | sed 's/^/recovered: /'
	step 'dump' sh -c 'docker exec -e PGHOST=database client pg_dump --exclude-table-data big -U postgres postgres | grep -v "^--\|restrict" | sort | md5sum'
}
# Cases of the Linux Test Project, built by ltp.py in the directory $LTP: on the own volume, and in the own layer.
ltp() {
	volume work-ltp-data
	up work-ltp --cap-add SYS_ADMIN --cap-add SYS_PTRACE --cap-add DAC_READ_SEARCH --security-opt seccomp=unconfined --security-opt apparmor=unconfined -v work-ltp-data:/data -v "$LTP:/ltp:ro"
	inside work-ltp sh /work/ltp.sh /data
	inside work-ltp sh -c 'mkdir /layer && sh /work/ltp.sh /layer' | sed 's/^/in the layer: /'
}
ready() {
	for _ in $(seq 300); do
		docker exec client env PGCONNECT_TIMEOUT=20 psql -h database -U postgres -qAtc 'select 1' 2>/dev/null && return
		sleep 0.1
	done
	docker logs --tail 20 database
	return 1
}

for workload in "$@"; do
	$workload >"$said" # not through a pipe: what it makes must be known here
	sed "s/^/$workload\t/" "$said"
	cleanup
done
