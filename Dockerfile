# The server and sandboxd, which are one program; docker-compose.yml starts both. The image that
# sandboxed code runs in is another one: sandbox/Dockerfile.
ARG BASE=python:3.12-slim
FROM ${BASE}
RUN apt-get update -qq && apt-get install -qq -y --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /srv/uaol
COPY pyproject.toml constraints.txt README.md LICENSE mcp_config.yaml ./
COPY app app
COPY biotools biotools
COPY migrations migrations
COPY sandbox sandbox
COPY supabase supabase
# PostgreSQL, which the server starts unless DATABASE_URL names one, asks for its user's name.
RUN pip install --no-cache-dir --constraint constraints.txt --editable '.[bio]' \
    && pip install --no-cache-dir --constraint constraints.txt --no-deps rs3 \
    && groupadd --gid 10001 uaol \
    && useradd --uid 10001 --gid uaol --home-dir /data --no-create-home uaol \
    && install -d -o uaol -g uaol /data
ENV UAOL_HOME=/data UAOL_HOST=0.0.0.0
USER 10001:10001
EXPOSE 8765
CMD ["uaol", "serve"]
