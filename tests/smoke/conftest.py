from random_models import encoded_dataset, random_base

__all__ = ["encoded_dataset", "random_base"]
