# The lessons in JupyterLab, for one person or for a JupyterHub; no solutions, nothing run as root.
# In the course's folder, or in one that `python -m utils release FOLDER` made:
#   docker build -t course-for-mechanists .
#   docker run --rm --init -p 127.0.0.1:8888:8888 course-for-mechanists
# In a hub: c.DockerSpawner.image (or KubeSpawner's) = "course-for-mechanists"
#           c.Spawner.cmd = "jupyterhub-singleuser"
# The hub and this image should be of one major version: --build-arg JUPYTERHUB_VERSION=5.4.6
FROM docker.io/library/python:3.11-slim-bookworm

RUN useradd --create-home --shell /bin/bash --uid 1000 jovyan \
    && install --directory --owner=1000 --group=1000 /opt/venv /opt/course
# a number, so that Kubernetes can see that it is not root
USER 1000
ENV HOME=/home/jovyan PATH=/opt/venv/bin:$PATH

# outside the home, which a hub hides behind the learner's own disk
WORKDIR /opt/course
# the CPU build first: the default one for Linux brings gigabytes of CUDA libraries
RUN python -m venv /opt/venv \
    && python -m pip install --no-cache-dir torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu
COPY --chown=1000:1000 requirements.txt constraints.txt pyproject.toml README.md ./
COPY --chown=1000:1000 utils utils
ARG JUPYTERHUB_VERSION=6.1.1
RUN python -m pip install --no-cache-dir -r requirements.txt "jupyterhub==${JUPYTERHUB_VERSION}"
COPY --chown=1000:1000 notebooks notebooks

WORKDIR /home/jovyan
EXPOSE 8888
# notebooks go where the learner's disk is; those already there are the learner's and stay
ENTRYPOINT ["/bin/sh", "-c", "cp -rn /opt/course/notebooks \"$HOME\"; exec \"$@\"", "start"]
CMD ["jupyter", "lab", "--ip=0.0.0.0", "--port=8888", "--no-browser"]
