FROM ringfence-claude
# IS_SANDBOX: where the project belongs to root, so does the agent, and it refuses to work without asking.
ENV ANTHROPIC_BASE_URL=http://host.docker.internal:8808 \
    ANTHROPIC_API_KEY=made-up \
    IS_SANDBOX=1
CMD ["claude", "--dangerously-skip-permissions", "-p", "Do what README.md says."]
