#!/bin/sh
# Leaves a Ray cluster in time: for a worker machine that its cloud may take away, or that is to be shut down.
#
#     leave-in-time.sh HEAD:PORT          wait for AWS to announce the end of this spot machine, then leave
#     leave-in-time.sh HEAD:PORT now      leave now: for a shutdown's hook, or Kubernetes' preStop
#
# To leave is to tell Ray that nothing new may start here, and the stages that run here to save their checkpoints; the
# driver starts them again elsewhere. AWS gives two minutes.
set -eu
head=$1
metadata=http://169.254.169.254/latest
deadline_s=${LEAVE_DEADLINE_S:-100}

is_announced() {
  token=$(curl -fsS -m 2 -X PUT "$metadata/api/token" -H 'X-aws-ec2-metadata-token-ttl-seconds: 60') || return 1
  curl -fs -m 2 -o /dev/null -H "X-aws-ec2-metadata-token: $token" "$metadata/meta-data/spot/instance-action"
}

if [ "${2:-}" != now ]; then
  until is_announced; do sleep 5; done
fi

raylet=$(pgrep -u "$(id -u)" -f '/raylet/raylet ' | head -n 1)
node=$(tr '\0' '\n' < "/proc/$raylet/cmdline" | sed -n 's/^--node[-_]id=//p')
echo "leaving: node $node"
ray drain-node --address "$head" --node-id "$node" --reason DRAIN_NODE_REASON_PREEMPTION \
  --reason-message "this machine is about to go" --deadline-remaining-seconds "$deadline_s" || true
# A worker that gets SIGTERM saves a checkpoint at the end of its epoch and hands its stage back.
pgrep -u "$(id -u)" -P "$raylet" -f '^ray::.*train' | while read -r worker; do kill -TERM "$worker"; done
