FROM ringfence-gemini
RUN echo '{"security": {"auth": {"selectedType": "gemini-api-key"}}}' > /etc/gemini-cli/settings.json
ENV GOOGLE_GEMINI_BASE_URL=http://host.docker.internal:8808 \
    GEMINI_API_KEY=made-up
CMD ["gemini", "--yolo", "--skip-trust", "-p", "Do what README.md says."]
