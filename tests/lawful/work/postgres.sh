# A client of the database at $1, over TCP and by the container's name.
. /work/steps.sh
export PGHOST=$1 PGUSER=postgres PGDATABASE=postgres PGCONNECT_TIMEOUT=20
sql="psql -qAtX -v ON_ERROR_STOP=1 -c"
load() {
	for n in 1 2 3 4; do
		( for m in $(seq 15); do psql -qAtX -c "insert into t select $n, g, repeat('x', 300) from generate_series(1, 20) g" || exit 1; done ) &
	done
	for job in $(jobs -p); do wait $job || return; done
}
case $2 in
first)
	step create $sql 'create table t (writer int, number int, text text); create index on t (writer, number)'
	step 'four writers at once' load
	step count $sql 'select count(*), sum(number) from t'
	step update $sql "update t set text = 'y' where number % 2 = 0"
	step checkpoint $sql checkpoint
	step vacuum $sql 'vacuum full analyze t'
	step 'temporary files' $sql "set work_mem = '64kB'; select count(*) from (select a.text || b.text as x from t a, t b where a.number = 1 and b.number = 2 order by 1 limit 20000) s"
	step 'a tablespace elsewhere' $sql "create table big as select generate_series(1, 20000) as n"
	step copy sh -c "$sql \"copy (select * from t order by 1, 2) to stdout\" | md5sum"
	step 'server-side files' $sql "copy t to '/tmp/t.copy'; select count(*) from pg_ls_dir('/tmp') f where f = 't.copy'"
	step database $sql 'create database other template template0'
	step 'drop it' $sql 'drop database other'
	;;
again)
	step 'count again' $sql 'select count(*), sum(number) from t'
	step 'write again' $sql "insert into t values (9, 9, 'again')"
	step 'count after that' $sql 'select count(*) from t'
	step 'drop' $sql 'drop table if exists big'
	;;
esac
