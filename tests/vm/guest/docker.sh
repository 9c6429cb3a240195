# Sourced in the machine: starts its Docker engine, with $DOCKERD_OPTIONS, and waits until it answers, then imports `busybox:local`.
dockerd --storage-driver=overlay2 $DOCKERD_OPTIONS >"$RESULTS/dockerd.log" 2>&1 &
for _ in $(seq 300); do docker info >/dev/null 2>&1 && break; sleep 0.2; done
docker info >/dev/null || { tail -n 20 "$RESULTS/dockerd.log"; exit 1; }

tree=$(mktemp -d)
mkdir "$tree/bin"
cp /usr/bin/busybox "$tree/bin/"
for applet in sh cat echo ls mkdir sleep touch wget nc ping; do ln -s busybox "$tree/bin/$applet"; done
tar -C "$tree" -c . | docker import - busybox:local >/dev/null
