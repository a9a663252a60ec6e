"""What every package needs: records, errors, files, progress, how the process uses the machine."""
