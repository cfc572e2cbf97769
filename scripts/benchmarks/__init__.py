"""What bleen costs and what users feel, each figure beside what it is compared with, from the same run."""
