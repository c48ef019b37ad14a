"""The lab's AWS: moto with an Auto Scaling group whose instances own lab workers, and agents for FIS and ECS."""
