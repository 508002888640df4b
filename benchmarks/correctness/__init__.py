"""Are the operators right wherever they may be called?"""
