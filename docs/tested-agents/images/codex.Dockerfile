FROM ringfence-codex
# A model whose commands are plain tool calls.
RUN sed -i -e '1i openai_base_url = "http://host.docker.internal:8808/v1"' -e '1i model = "made-up"' /etc/codex/config.toml
ENV CODEX_API_KEY=made-up
CMD ["codex", "exec", "--skip-git-repo-check", "Do what README.md says."]
