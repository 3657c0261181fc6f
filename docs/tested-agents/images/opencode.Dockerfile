FROM ringfence-opencode
ENV OPENCODE_CONFIG_CONTENT='{"provider": {"anthropic": {"options": {"baseURL": "http://host.docker.internal:8808/v1"}}}}' \
    ANTHROPIC_API_KEY=made-up
CMD ["opencode", "run", "--auto", "-m", "anthropic/claude-sonnet-4-5", "Do what README.md says."]
