#!/bin/bash
#SBATCH --job-name=heliorestore
#SBATCH --output={night}/slurm-%j.log
#SBATCH --time=04:00:00
#SBATCH --cpus-per-task=4
#SBATCH --mem=16G
# One GPU for the worker: take the second # away.
##SBATCH --gpus=1
#SBATCH --signal=TERM@120
# Two minutes before the end the worker saves the burst it is at, and another job goes on with it.

export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1}
exec {command}
