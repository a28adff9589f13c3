"""Rewards: networks that hear a student's sounds and say how well these fit what was asked for."""

from .base import REWARDS, Reward, RewardSettings, RewardTerm, open_rewards

__all__ = ["REWARDS", "Reward", "RewardSettings", "RewardTerm", "open_rewards"]
