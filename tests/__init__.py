"""The tests. Each directory says what it needs: unit and contract nothing, kernel root, e2e a Docker engine, vm qemu."""
