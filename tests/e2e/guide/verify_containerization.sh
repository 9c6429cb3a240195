#!/bin/bash
# Comprehensive MCP containerization verification

set -euo pipefail

echo "🔍 MCP Containerization Verification Suite"
echo "=========================================="

# Color codes
RED='\033[0;31m'
GREEN='\033[0;32m'
YELLOW='\033[1;33m'
NC='\033[0m' # No Color

PASS=0
FAIL=0
WARN=0

# Test 1: Container Existence
echo ""
echo "Test 1: Verifying MCP containers exist..."
expected_mcps=20
running_mcps=$(docker ps --filter "name=mcp" --format '{{.Names}}' | wc -l)

if [ ${running_mcps} -eq ${expected_mcps} ]; then
    echo -e "${GREEN}✅ PASS${NC}: All ${expected_mcps} MCP containers running"
    ((PASS++))
else
    echo -e "${RED}❌ FAIL${NC}: Expected ${expected_mcps} MCP containers, found ${running_mcps}"
    ((FAIL++))
fi

# Test 2: Data Isolation
echo ""
echo "Test 2: Verifying data isolation..."
isolation_ok=true

for container in $(docker ps --format '{{.Names}}' | grep mcp | head -5); do
    # Check if container has dedicated data volume
    data_mounts=$(docker inspect ${container} --format '{{range .Mounts}}{{if eq .Destination "/app/data"}}{{.Name}}{{end}}{{end}}')
    
    if [ -n "${data_mounts}" ]; then
        echo -e "${GREEN}✅${NC} ${container}: Has dedicated data volume"
    else
        echo -e "${RED}❌${NC} ${container}: Missing dedicated data volume"
        isolation_ok=false
    fi
done

if [ "${isolation_ok}" = true ]; then
    ((PASS++))
else
    ((FAIL++))
fi

# Test 3: Network Segmentation
echo ""
echo "Test 3: Verifying network segmentation..."
network_ok=true

for container in $(docker ps --format '{{.Names}}' | grep mcp | head -5); do
    networks=$(docker inspect ${container} --format '{{range $k,$v := .NetworkSettings.Networks}}{{$k}} {{end}}')
    
    if echo "${networks}" | grep -q "mcp-internal"; then
        echo -e "${GREEN}✅${NC} ${container}: On mcp-internal network"
    else
        echo -e "${YELLOW}⚠️${NC}  ${container}: Not on mcp-internal network"
        network_ok=false
        ((WARN++))
    fi
done

if [ "${network_ok}" = true ]; then
    ((PASS++))
fi

# Test 4: Health Checks
echo ""
echo "Test 4: Verifying health checks..."
health_ok=true

for container in $(docker ps --format '{{.Names}}' | grep mcp | head -5); do
    health=$(docker inspect ${container} --format '{{.State.Health.Status}}' 2>/dev/null || echo "none")
    
    if [ "${health}" == "healthy" ]; then
        echo -e "${GREEN}✅${NC} ${container}: Healthy"
    elif [ "${health}" == "none" ]; then
        echo -e "${YELLOW}⚠️${NC}  ${container}: No health check configured"
        ((WARN++))
    else
        echo -e "${RED}❌${NC} ${container}: Health status: ${health}"
        health_ok=false
    fi
done

if [ "${health_ok}" = true ]; then
    ((PASS++))
fi

# Test 5: Resource Limits
echo ""
echo "Test 5: Verifying resource limits..."
limits_ok=true

for container in $(docker ps --format '{{.Names}}' | grep mcp | head -5); do
    mem_limit=$(docker inspect ${container} --format '{{.HostConfig.Memory}}')
    cpu_limit=$(docker inspect ${container} --format '{{.HostConfig.NanoCpus}}')
    
    if [ "${mem_limit}" != "0" ] && [ "${cpu_limit}" != "0" ]; then
        echo -e "${GREEN}✅${NC} ${container}: Has resource limits"
    else
        echo -e "${YELLOW}⚠️${NC}  ${container}: Missing resource limits"
        ((WARN++))
    fi
done

# Test 6: Security Configuration
echo ""
echo "Test 6: Verifying security configuration..."
security_ok=true

for container in $(docker ps --format '{{.Names}}' | grep mcp | head -5); do
    user=$(docker exec ${container} id -u 2>/dev/null || echo "0")
    readonly=$(docker inspect ${container} --format '{{.HostConfig.ReadonlyRootfs}}')
    
    if [ "${user}" != "0" ] || [ "${readonly}" == "true" ]; then
        echo -e "${GREEN}✅${NC} ${container}: Security-hardened"
    else
        echo -e "${YELLOW}⚠️${NC}  ${container}: Consider security hardening"
        ((WARN++))
    fi
done

# Summary
echo ""
echo "=========================================="
echo "Verification Summary"
echo "=========================================="
echo -e "${GREEN}PASS: ${PASS}${NC}"
echo -e "${RED}FAIL: ${FAIL}${NC}"
echo -e "${YELLOW}WARN: ${WARN}${NC}"

if [ ${FAIL} -eq 0 ]; then
    echo ""
    echo -e "${GREEN}✅ MCP containerization verification PASSED${NC}"
    exit 0
else
    echo ""
    echo -e "${RED}❌ MCP containerization verification FAILED${NC}"
    exit 1
fi
