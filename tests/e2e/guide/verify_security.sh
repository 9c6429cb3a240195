#!/bin/bash
# Verify MCP container security configuration

set -euo pipefail

echo "🔒 Verifying MCP container security..."

for container in $(docker ps --format '{{.Names}}' | grep mcp); do
    echo ""
    echo "=== ${container} ==="
    
    # Check if running as root
    user=$(docker exec ${container} id -u 2>/dev/null || echo "N/A")
    if [ "${user}" == "0" ]; then
        echo "⚠️  Running as root (UID: ${user})"
    else
        echo "✅ Running as non-root (UID: ${user})"
    fi
    
    # Check read-only filesystem
    if docker inspect ${container} --format '{{.HostConfig.ReadonlyRootfs}}' | grep -q true; then
        echo "✅ Read-only root filesystem enabled"
    else
        echo "⚠️  Read-only root filesystem NOT enabled"
    fi
    
    # Check security options
    secopts=$(docker inspect ${container} --format '{{.HostConfig.SecurityOpt}}')
    if echo "${secopts}" | grep -q "no-new-privileges"; then
        echo "✅ no-new-privileges enabled"
    else
        echo "⚠️  no-new-privileges NOT enabled"
    fi
    
    # Check resource limits
    mem_limit=$(docker inspect ${container} --format '{{.HostConfig.Memory}}')
    if [ "${mem_limit}" != "0" ]; then
        echo "✅ Memory limit set: $((mem_limit / 1024 / 1024))MB"
    else
        echo "⚠️  No memory limit set"
    fi
done

echo ""
echo "✅ Security verification complete"
