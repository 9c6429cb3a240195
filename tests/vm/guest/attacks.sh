# Run in the machine: every way that an attacker knows, before the enforcer runs and under $ENFORCER_MECHANISM.
# What was told, seen and recorded is left in $RESULTS/played.json; tests/attacks/play.py does it all.
# /tmp/attacker and /tmp/speaker are there already.
source tests/vm/guest/docker.sh
.venv/bin/python -m tests.attacks.play "$ENFORCER_MECHANISM" /tmp "$RESULTS" 10 || failed=1
cp /var/lib/attacks/log "$RESULTS/agent.log"
exit ${failed:-0}
