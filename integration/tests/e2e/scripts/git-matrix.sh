# Plays one operation of git in each repository below a folder. The names are OPERATION.KIND.
# Prints a line for each: NAME EXIT BUSY SEEN, where SEEN says that the person's bytes could be read.
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b GIT_EDITOR=true
secret=$2
for cell in "$1"/*.*; do
    cd "$cell" || exit 9
    name=${cell##*/}
    seen=no
    find . -path ./.git -prune -o -type f -exec grep -qF "$secret" {} + && seen=yes
    said=$({
        case ${name%%.*} in
        status) git status --porcelain ;;
        diff) git diff HEAD ;;
        add) git add -A ;;
        commit) echo fix >>README && git commit -qam fix ;;
        push) echo fix >>README && git commit -qam fix && git push -q origin HEAD:main ;;
        switch) git checkout -q side ;;
        switch-covered) git checkout -q other ;;
        merge) git merge -q --no-edit side ;;
        rebase) git rebase -q side ;;
        reset) echo x >>README && git reset -q --hard ;;
        stash) echo x >>README && git stash -q && git stash pop -q ;;
        restore) git restore . ;;
        clean) git clean -fdq ;;
        worktree) git worktree add -q tree side ;;
        esac
    } 2>&1)
    exit=$?
    busy=no
    case $said in *'evice or resource busy'*) busy=yes ;; esac
    case $said in *"$secret"*) seen=yes ;; esac
    git cat-file --batch --batch-all-objects | grep -aqF "$secret" && seen=yes
    echo "$name $exit $busy $seen"
done
