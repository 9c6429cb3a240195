# Sourced in the machine: starts its Docker engine, with $DOCKERD_OPTIONS, and waits until it answers, then imports `busybox:local`.
# dockerd gives up on its containerd after some seconds, which an emulated machine on a busy host may need: then once more.
start_dockerd() {
	dockerd --storage-driver=overlay2 $DOCKERD_OPTIONS >"$RESULTS/dockerd.log" 2>&1 &
	dockerd=$!
}
start_dockerd
for _ in $(seq 600); do
	docker info >/dev/null 2>&1 && break
	kill -0 $dockerd 2>/dev/null || start_dockerd
	sleep 0.2
done
docker info >/dev/null || { tail -n 20 "$RESULTS/dockerd.log"; exit 1; }

tree=$(mktemp -d)
mkdir "$tree/bin"
cp /usr/bin/busybox "$tree/bin/"
for applet in sh cat echo ls mkdir sleep touch wget nc ping; do ln -s busybox "$tree/bin/$applet"; done
tar -C "$tree" -c . | docker import - busybox:local >/dev/null
