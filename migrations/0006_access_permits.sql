-- Whether a condition holds for the attributes of one row: `{"equals": {"attribute", "value"}}`, `{"in": {"attribute", "values"}}`,
-- `{"all": [..]}`, `{"any": [..]}`, `{"not": ..}`. An attribute that is not there is equal to nothing. Anything else is an error, so that
-- no row is shown by mistake.
CREATE FUNCTION access_permits(a_condition jsonb, a_attributes jsonb) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
AS $$
DECLARE
    operator text;
    operand  jsonb;
    clause   jsonb;
BEGIN
    SELECT key, value INTO STRICT operator, operand FROM jsonb_each(a_condition);
    CASE operator
        WHEN 'equals' THEN
            RETURN coalesce(a_attributes -> (operand ->> 'attribute') = operand -> 'value', false);
        WHEN 'in' THEN
            RETURN coalesce((operand -> 'values') @> (a_attributes -> (operand ->> 'attribute')), false)
               AND jsonb_typeof(a_attributes -> (operand ->> 'attribute')) IN ('string', 'number', 'boolean');
        WHEN 'not' THEN
            RETURN NOT access_permits(operand, a_attributes);
        WHEN 'all' THEN
            FOR clause IN SELECT value FROM jsonb_array_elements(operand) LOOP
                IF NOT access_permits(clause, a_attributes) THEN
                    RETURN false;
                END IF;
            END LOOP;
            RETURN true;
        WHEN 'any' THEN
            FOR clause IN SELECT value FROM jsonb_array_elements(operand) LOOP
                IF access_permits(clause, a_attributes) THEN
                    RETURN true;
                END IF;
            END LOOP;
            RETURN false;
    END CASE;
END $$;
