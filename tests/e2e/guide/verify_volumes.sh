#!/bin/bash
# Verify data isolation between MCP containers

set -euo pipefail

echo "🔍 Verifying MCP container data isolation..."

# Test 1: Check volume mounts
echo ""
echo "Test 1: Verifying volume mounts..."
for container in $(docker ps --format '{{.Names}}' | grep mcp); do
    echo "Container: ${container}"
    docker inspect ${container} --format '{{range .Mounts}}{{.Source}} -> {{.Destination}} ({{.Mode}}){{println}}{{end}}' | head -3
    echo ""
done

# Test 2: Check filesystem permissions
echo "Test 2: Checking filesystem permissions..."
for container in $(docker ps --format '{{.Names}}' | grep mcp); do
    echo "Container: ${container}"
    docker exec ${container} ls -la /app | head -5 || echo "⚠️  Cannot access ${container}"
    echo ""
done

# Test 3: Verify write access isolation
echo "Test 3: Verifying write access isolation..."
for container in $(docker ps --format '{{.Names}}' | grep mcp); do
    echo "Testing ${container}..."
    
    # Try to write to own data directory (should succeed)
    docker exec ${container} touch /app/data/test-write.txt 2>/dev/null && \
        echo "✅ ${container} can write to own data directory" || \
        echo "❌ ${container} cannot write to own data directory"
    
    # Clean up
    docker exec ${container} rm -f /app/data/test-write.txt 2>/dev/null || true
done

echo ""
echo "✅ Data isolation verification complete"
