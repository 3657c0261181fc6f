#!/bin/sh
# A step of the agent's task. The first one says by a connection that it is done, so that a scenario can
# change the network between two turns of the conversation.
echo "step $1" > "$1.txt"
[ "$1" = two ] || node -e "
fetch('http://host.containers.internal:8808/checkpoint', {signal: AbortSignal.timeout(3000)}).catch(() => {})
"
echo "done with step $1"
