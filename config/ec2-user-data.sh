#!/bin/bash
# User data of an EC2 instance: the agent as a service, as the user who trains. `spot_notice` ships what there is when the
# instance is about to be taken away; the agent is started again after it, and ships what the training still writes until the
# machine goes down. TimeoutStopSec must be above drain_timeout_s (60).
set -eu
user=ec2-user                                      # whoever trains
source=git+https://git.example.com/ml-logger.git   # this repository, or a wheel of it
python3 -m venv /opt/ml-logger
/opt/ml-logger/bin/pip install --quiet "$source"

install -d -o "$user" /var/lib/ml-logger/logs /etc/ml-logger
aws ssm get-parameter --with-decryption --name /ml-logger/token --query Parameter.Value --output text |
    install -m 600 -o "$user" /dev/stdin /etc/ml-logger/token
cat > /etc/ml-logger/agent.yaml <<'YAML'
spool: /var/lib/ml-logger/logs
server: https://storage.example.com:8081
token_file: token
remote_prefix: "{hostname}"
spot_notice: true
YAML

cat > /etc/systemd/system/ml-logger-agent.service <<UNIT
[Unit]
Description=ML_Logger agent
Wants=network-online.target
After=network-online.target

[Service]
User=$user
ExecStart=/opt/ml-logger/bin/ml-logger-agent --config /etc/ml-logger/agent.yaml
Restart=always
RestartSec=2
RestartPreventExitStatus=2
TimeoutStopSec=90

[Install]
WantedBy=multi-user.target
UNIT
systemctl daemon-reload
systemctl enable --now ml-logger-agent
