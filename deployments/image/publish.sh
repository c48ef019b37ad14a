#!/usr/bin/env bash
# Pushes a local image to ECR as a candidate, waits for the scan, and gives it its tag when the scan is clean.
# Usage: publish.sh LOCAL_IMAGE REPOSITORY_URI TAG     (BLOCKS="CRITICAL HIGH": severities that refuse an image)
set -euo pipefail
image=$1 uri=$2 tag=$3
blocks=${BLOCKS:-CRITICAL}
registry=${uri%%/*} repository=${uri#*/}
candidate=candidate-$tag-$(date +%s) # a refused one keeps its tag until it is deleted, and tags never move

if aws ecr describe-images --repository-name "$repository" --image-ids "imageTag=$tag" >/dev/null 2>&1; then
  echo "$uri:$tag is there already; a tag never moves."
  exit 0
fi
aws ecr get-login-password | docker login --username AWS --password-stdin "$registry"
docker tag "$image" "$uri:$candidate"
docker push --quiet "$uri:$candidate"
aws ecr wait image-scan-complete --repository-name "$repository" --image-id "imageTag=$candidate"
counts=$(aws ecr describe-image-scan-findings --repository-name "$repository" --image-id "imageTag=$candidate" \
  --query imageScanFindings.findingSeverityCounts --output json)
echo "Findings: $counts"
for severity in $blocks; do
  if [[ "$counts" == *"\"$severity\""* ]]; then
    echo "The image has findings of severity $severity and gets no tag. Look at them, update what they are in, and build again:"
    echo "  aws ecr describe-image-scan-findings --repository-name $repository --image-id imageTag=$candidate"
    exit 1
  fi
done
docker tag "$image" "$uri:$tag"
docker push --quiet "$uri:$tag"
# The candidate's tag alone goes: the image stays under its own.
aws ecr batch-delete-image --repository-name "$repository" --image-ids "imageTag=$candidate" >/dev/null
echo "$uri:$tag"
