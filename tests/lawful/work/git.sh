# git in the directory that is given: init, commit, clone by hard links, branch, merge, gc, checkout, worktree, push.
. /work/steps.sh
cd "$1" || exit
export GIT_AUTHOR_DATE='2026-01-02T03:04:05Z' GIT_COMMITTER_DATE='2026-01-02T03:04:05Z' HOME=$PWD
git config --global user.name someone
git config --global user.email someone@example.org
git config --global init.defaultBranch main
git config --global core.fsync all
fill() (
	cd origin && mkdir -p d/e && seq 1000 >d/e/numbers && ln -s d/e/numbers link && echo '#!/bin/sh' >run && chmod +x run
)
edit() {
	for n in 1 2 3 4 5; do
		echo "line $n" >>origin/d/e/numbers
		git -C origin commit -qam "change $n" || return
	done
}
step init git init -q origin
step fill fill
step add git -C origin add -A
step commit git -C origin commit -qm first
step edit edit
step clone git clone -q origin clone
step 'objects are linked' sh -c 'find clone/.git/objects -type f -links +1 | wc -l'
step branch git -C clone checkout -qb topic
step rename git -C clone mv d/e/numbers moved
step 'commit a rename' git -C clone commit -qm moved
step merge git -C clone -c merge.ff=false merge -q --no-edit origin/main
step push git -C clone push -q origin topic
step checkout git -C origin checkout -q topic
step stash sh -c 'cd origin && echo more >>moved && git stash -q && git stash pop -q && git status --short'
step worktree git -C origin worktree add -q ../tree main
step gc git -C origin gc -q --prune=now
step repack git -C clone repack -adq
step fsck git -C origin fsck --strict --no-progress
step bundle sh -c 'git -C origin bundle create -q ../all.bundle --all && git clone -q all.bundle unbundled && git -C unbundled log -1 --format=%H'
step log git -C origin log --all --format='%H %s'
step clean git -C clone clean -xdfq
