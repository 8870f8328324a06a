resource "aws_ecr_repository" "service" {
  name                 = "fastify-app"
  image_tag_mutability = "IMMUTABLE"
  force_delete         = var.images.force_delete

  image_scanning_configuration {
    scan_on_push = true
  }

  # Without a key, ECR uses the key that AWS manages: encryption and auditing without a monthly price.
  encryption_configuration {
    encryption_type = "KMS"
  }
}

resource "aws_ecr_lifecycle_policy" "service" {
  repository = aws_ecr_repository.service.name

  policy = jsonencode({
    rules = [
      {
        rulePriority = 1
        description  = "Expire images that lost their tag"
        selection = {
          tagStatus   = "untagged"
          countType   = "sinceImagePushed"
          countUnit   = "days"
          countNumber = 1
        }
        action = { type = "expire" }
      },
      {
        rulePriority = 2
        description  = "Keep the newest ${var.images.kept}"
        selection = {
          tagStatus      = "tagged"
          tagPatternList = ["*"]
          countType      = "imageCountMoreThan"
          countNumber    = var.images.kept
        }
        action = { type = "expire" }
      },
    ]
  })
}
