# pip in the directory that is given: a wheel that is built here, into a virtual environment, upgraded, and out again.
. /work/steps.sh
cd "$1" || exit
wheel() {
	python3 - "$1" <<'PYTHON'
import sys, zipfile
name = f"lawful-{sys.argv[1]}"
files = {
    "lawful/__init__.py": f"VERSION = '{sys.argv[1]}'\ndef main():\n    print('lawful', VERSION)\n",
    f"{name}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: lawful\nVersion: {sys.argv[1]}\n",
    f"{name}.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    f"{name}.dist-info/entry_points.txt": "[console_scripts]\nlawful = lawful:main\n",
}
files |= {f"lawful/data/{n}.txt": "x" * 1000 for n in range(20)}
record = f"{name}.dist-info/RECORD"
with zipfile.ZipFile(f"{name}-py3-none-any.whl", "w") as made:
    for path, text in files.items():
        made.writestr(path, text)
    made.writestr(record, "".join(f"{path},,\n" for path in [*files, record]))
PYTHON
}
pip="python3 -m pip --python venv/bin/python --disable-pip-version-check --no-cache-dir"
step 'build a wheel' wheel 1.0
step 'and the next' wheel 2.0
step 'virtual environment' python3 -m venv --without-pip venv
step install $pip install -q --no-index ./lawful-1.0-py3-none-any.whl
step run venv/bin/lawful
step upgrade $pip install -q --no-index ./lawful-2.0-py3-none-any.whl
step 'run the next' venv/bin/lawful
step 'byte code' sh -c 'find venv -name "*.pyc" | wc -l'
step uninstall $pip uninstall -qy lawful
step gone venv/bin/python -c 'import lawful'
