"""Generated vision-language data: images, questions, points."""
