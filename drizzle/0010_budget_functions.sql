-- Where the money of budgets moves.

SELECT 1;
